-- ARGV: process, fence, lease, fetch, attempt, limit, window.
local process, lease, fetch = ARGV[3], ARGV[4], ARGV[6]
if not is_mine(process, lease) then return { 'ok', text(time), 'lost' } end
set('lease_until', now + num(ARGV[5]))
if fetch ~= '0' then
  redis.call('ZREMRANGEBYSCORE', q, '-inf', text(now))
  local wait = quota_wait(num(ARGV[8]), generation > 0 and slot.refused == '1')
  if wait > 0 then
    keep(t)
    return { 'ok', text(time), 'quota', text(wait) }
  end
  take(process, lease, fetch, now + num(ARGV[7]) + num(ARGV[9]))
end
keep(t, q, e)
return { 'ok', text(time), 'held' }
