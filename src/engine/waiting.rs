//! [`WaitingRequest`]: a request that waits, and how it is sent.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    drain::Drain,
    policy::{Admit, FailedPart, History, Policy},
    retry_copy::RetryCopy,
};
use crate::replay::TryCloneBody;

pin_project! {
    /// A request that waits. Its large parts are on the heap, because most requests never wait, and
    /// a response future with room for these parts would make all requests dearer.
    ///
    /// 1. The service holds readiness only within one poll, and only while `was_polled` is set. In
    ///    that poll the request is sent, or the readiness is given up.
    /// 2. `pending` is `Some` until the request is sent. After that the value is not polled again.
    pub(super) struct WaitingRequest<S, P, B, R>
    where
        P: Policy,
    {
        pending: Option<Box<PendingRequest<S, B>>>,
        policy: P,
        #[pin]
        wait: P::Wait,
        // The rest of the discarded response. It is read so that its connection can be used again.
        drain: Option<Pin<Box<Drain<R>>>>,
        // The service has been polled since it was cloned, so it may hold readiness or a place in a
        // queue.
        was_polled: bool,
    }
}

/// A request, with the service to send it on and its history.
struct PendingRequest<S, B> {
    request: Request<B>,
    service: S,
    history: History,
}

/// The parts of a request that has just been sent.
pub(super) struct SentRequest<S: Service<Request<B>>, P: Policy, B> {
    pub(super) response: S::Future,
    pub(super) policy: P,
    pub(super) permit: P::Permit,
    pub(super) copy: Option<(RetryCopy<B>, S)>,
    pub(super) history: Box<History>,
}

impl<S, P: Policy, B, R> WaitingRequest<S, P, B, R> {
    /// `discarded` is the body of the discarded response, if there was a response.
    pub(super) fn new(
        request: Request<B>,
        service: S,
        policy: P,
        wait: P::Wait,
        discarded: Option<R>,
        history: History,
    ) -> Self
    where
        R: Body,
    {
        Self {
            pending: Some(Box::new(PendingRequest { request, service, history })),
            policy,
            wait,
            drain: discarded.map(|body| Box::pin(Drain::new(body))),
            was_polled: false,
        }
    }
}

impl<S, P, B, R> WaitingRequest<S, P, B, R>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    S::Error: Into<crate::BoxError>,
    P: Admit<S, B>,
    B: TryCloneBody,
    R: Body,
{
    /// Completes when the request has been sent. It must not be polled after that.
    pub(super) fn poll_send(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<SentRequest<S, P, B>, P::Error>> {
        let mut this = self.project();
        loop {
            let Some(pending) = this.pending.as_mut() else { already_sent() };
            let PendingRequest { request, service, history } = &mut **pending;
            if let Poll::Ready(error) = history.poll_deadline(cx) {
                return Poll::Ready(Err(P::error(FailedPart::Deadline, error)));
            }
            if let Some(drain) = this.drain {
                this.policy.join_queue(this.wait.as_mut(), cx);
                ready!(drain.as_mut().poll(cx));
                *this.drain = None;
            }
            let polled = this.policy.poll_wait(this.wait.as_mut(), request, service, history, cx);
            if polled.is_pending() {
                give_readiness_back(service, this.was_polled);
                history.delayed = false;
            }
            ready!(polled)?;
            *this.was_polled = true;
            let Poll::Ready(readiness) = service.poll_ready(cx) else {
                history.delayed = true;
                return Poll::Pending;
            };
            readiness.map_err(|error| P::error(FailedPart::Client, error.into()))?;
            let mut copy = None;
            if let Some(deadline) = &history.deadline {
                deadline.write(request, history.attempts);
            }
            let keep = |request: &Request<B>| copy = RetryCopy::of(request, || {});
            let left = this.policy.admit_after_wait(this.wait.as_mut(), request, service, history, keep, cx);
            let Some(permit) = left else {
                give_readiness_back(service, this.was_polled);
                history.delayed = false;
                continue;
            };
            let permit = permit?;
            let Some(pending) = this.pending.take() else { already_sent() };
            let PendingRequest { request, mut service, mut history } = *pending;
            history.attempts = history.attempts.saturating_add(1);
            let response = service.call(request);
            let copy = copy.map(|copy| (copy, service));
            let (policy, history) = (this.policy.clone(), Box::new(history));
            return Poll::Ready(Ok(SentRequest { response, policy, permit, copy, history }));
        }
    }
}

/// Replaces a service that may hold readiness with a fresh clone.
fn give_readiness_back<S: Clone>(service: &mut S, was_polled: &mut bool) {
    if std::mem::take(was_polled) {
        *service = service.clone();
    }
}

#[cold]
#[expect(clippy::panic, reason = "the engine drops a request that has been sent")]
fn already_sent() -> ! {
    panic!("a waiting request was polled after it had been sent")
}
