-- ARGV: process, fence, lease, request, token timeout, limit, window.
local process, lease, request = ARGV[3], ARGV[4], ARGV[6]
if not is_mine(process, lease) then return { 'ok', text(time), 'lost' } end
set('lease_until', now + num(ARGV[5]))
if request ~= '0' then
  redis.call('ZREMRANGEBYSCORE', q, '-inf', text(now))
  local wait = allowance_wait(num(ARGV[8]), generation > 0 and slot.refused == '1')
  if wait > 0 then
    keep(t)
    return { 'ok', text(time), 'allowance', text(wait) }
  end
  take(process, lease, request, now + num(ARGV[7]) + num(ARGV[9]))
end
keep(t, q, e)
return { 'ok', text(time), 'held' }
