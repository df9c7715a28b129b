-- ARGV: process, fence, request, window, failure, shortest cool-down, jitter, what is left of the
-- allowance, its reset, how long the request may still take to arrive.
local process, lease, request, failure = ARGV[3], ARGV[4], ARGV[5], ARGV[7]
if request == '0' then
  redis.call('ZREM', q, process .. ':' .. lease .. ':1')
else
  redis.call('ZADD', q, text(now + num(ARGV[12]) + num(ARGV[6])), process .. ':' .. lease .. ':' .. request)
end
learn(ARGV[10], ARGV[11])
if is_mine(process, lease) then
  set('lease_until', '0')
  set('lease_process', '')
  if failure ~= '' then
    local longest = doubled(num(slot.failures))
    local jittered = longest - math.floor(longest * math.min(num(ARGV[9]), 1000) / 2000)
    set('failures', math.min(num(slot.failures) + 1, 16))
    set('cooling', now + math.max(jittered, math.min(num(ARGV[8]), 300000)))
    set('failure', failure)
  end
end
keep(t, q, e)
return { 'ok', text(time), text(math.max(0, num(slot.cooling) - now)) }
