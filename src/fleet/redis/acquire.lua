-- ARGV: process, have, refused, repeatable, remaining, lease, token timeout, limit, window, epoch.
-- Then for each token request: fence, number, age, and how long it may still take to arrive.
local process, have, refused, repeatable = ARGV[3], num(ARGV[4]), ARGV[5] == '1', ARGV[6] == '1'
local limit, window, asked_epoch = num(ARGV[10]), num(ARGV[11]), num(ARGV[12])

local state = redis.call('HMGET', e, 'epoch', 'hold')
local epoch, hold = exact(state[1]), num(state[2])
if epoch == 0 then
  epoch = math.max(now, asked_epoch + 1)
  redis.call('HSET', e, 'epoch', text(epoch))
end
-- The first process that remembers starts the hold. A process that reports token requests extends
-- it.
if asked_epoch ~= 0 and asked_epoch ~= epoch and (hold == 0 or #ARGV > 12) then
  hold = math.max(hold, now + math.floor(window / 60))
  redis.call('HSET', e, 'hold', text(hold))
end
redis.call('ZADD', n, text(now), process)
redis.call('ZREMRANGEBYSCORE', n, '-inf', text(now - 3900000))
for i = 13, #ARGV, 4 do
  local free_at = now + num(ARGV[i + 3]) + math.max(0, window - num(ARGV[i + 2]))
  redis.call('ZADD', q, text(free_at), process .. ':' .. ARGV[i] .. ':' .. ARGV[i + 1])
end
redis.call('ZREMRANGEBYSCORE', q, '-inf', text(now))

local function failure()
  if redis.call('HSTRLEN', t, 'failure') > 65536 then return '' end
  return redis.call('HGET', t, 'failure') or ''
end
local function answer(...)
  keep(t, q, n, e)
  return { 'ok', text(time), text(epoch), text(redis.call('ZCARD', n)), ... }
end

if refused and generation == have and generation > 0 and slot.refused ~= '1' then
  local paused = num(slot.paused)
  if paused > now then return answer('paused', text(paused - now)) end
  set('refused', '1')
  if slot.forced == '1' then
    if slot.effect == 'ineffective' then
      set('paused', now + doubled(math.max(0, num(slot.ineffective) - 1)))
    elseif not (slot.effect == 'effective' and repeatable) then
      pause()
    end
  end
end
if generation > have and slot.refused ~= '1' and remaining() > 0 and remaining() >= num(ARGV[7])
  and redis.call('HSTRLEN', t, 'sealed') <= 65536 then
  return answer('token', text(generation), slot.lifetime, text(remaining()), slot.forced, redis.call('HGET', t, 'sealed') or '')
end
if num(slot.lease_until) > now and slot.lease_process ~= process then
  return answer('busy', text(num(slot.lease_until) - now))
end
if num(slot.cooling) > now then return answer('cooling', text(num(slot.cooling) - now), failure()) end
if hold > now then return answer('busy', text(hold - now)) end
local forced = refused or (generation > 0 and slot.refused == '1')
local wait = allowance_wait(limit, forced)
if wait > 0 then return answer('allowance', text(wait)) end
fence = math.max(now, fence + 1, generation + 1, have + 1)
set('fence', fence)
set('lease_process', process)
set('lease_fence', fence)
set('lease_until', now + num(ARGV[8]))
take(process, text(fence), '1', now + num(ARGV[9]) + window)
return answer('lease', text(fence), forced and '1' or '0')
