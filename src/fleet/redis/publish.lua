-- ARGV: process, generation, request, window, lifetime, remaining, forced, sealed, what is left of
-- the allowance, its reset.
local process, published, lifetime = ARGV[3], num(ARGV[4]), num(ARGV[7])
redis.call('ZADD', q, text(now + num(ARGV[6])), process .. ':' .. ARGV[4] .. ':' .. ARGV[5])
learn(ARGV[11], ARGV[12])
if is_mine(process, ARGV[4]) then set('lease_until', '0') set('lease_process', '') end
set('cooling', '0')
set('failures', '0')
keep(t, q, e)
if published <= math.max(generation, invalid) or #ARGV[10] > 65536 then return { 'ok', text(time), '0' } end
set('fence', math.max(fence, published))
set('generation', published)
set('sealed', ARGV[10])
set('issued', now - math.max(0, lifetime - num(ARGV[8])))
set('lifetime', lifetime)
set('forced', ARGV[9])
set('refused', '0')
set('effect', 'pending')
return { 'ok', text(time), '1' }
