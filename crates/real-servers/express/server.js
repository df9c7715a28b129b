// A small Turris with express-rate-limit before all methods that change something.
//
//     node server.js FORM LIMIT WINDOW_IN_MILLISECONDS
//
// FORM is `legacy`, `draft-6`, `draft-7` or `draft-8`: the form in which it states the limit. It prints its port.

'use strict';
const { randomUUID } = require('node:crypto');
const express = require('express');
const { rateLimit } = require('express-rate-limit');

const [form, limit, windowMs] = process.argv.slice(2);
const app = express();
const tokens = new Set();
const counts = { tokens: 0, refused: 0, unauthorized: 0, processed: {} };

app.post('/v1/auth/jwt', express.json(), (request, response) => {
    counts.tokens += 1;
    const accessToken = randomUUID();
    tokens.add(accessToken);
    const data = { accessToken, expiresIn: 3600, tokenType: 'Bearer' };
    response.status(201).json({ data, requestId: randomUUID(), timestamp: new Date().toISOString() });
});

app.get('/counts', (request, response) => response.json(counts));
app.post('/revoke', (request, response) => {
    tokens.clear();
    response.sendStatus(204);
});

app.use((request, response, next) => {
    const [scheme, token] = (request.get('authorization') ?? '').split(' ');
    if (scheme === 'Bearer' && tokens.has(token)) return next();
    counts.unauthorized += 1;
    response.status(401).json({ statusCode: 401, errorType: 'unauthorized', errorMessage: ['no valid token'] });
});
app.use(rateLimit({
    limit: Number(limit),
    windowMs: Number(windowMs),
    legacyHeaders: form === 'legacy',
    standardHeaders: form === 'legacy' ? false : form,
    skip: (request) => request.method === 'GET',
    handler: (request, response, next, options) => {
        counts.refused += 1;
        response.status(options.statusCode).send(options.message);
    },
}));
app.use((request, response) => {
    const id = request.get('x-request-id');
    counts.processed[id] = (counts.processed[id] ?? 0) + 1;
    response.json({ data: id });
});

const server = app.listen(0, '127.0.0.1', () => console.log(server.address().port));
