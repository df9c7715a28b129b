-- ARGV: have.
fence = math.max(now, fence, generation, num(ARGV[3]))
redis.call('HDEL', t, 'sealed')
set('fence', fence)
set('invalid', fence)
set('generation', '0')
set('refused', '0')
set('forced', '0')
set('lease_until', '0')
set('lease_process', '')
keep(t)
return { 'ok', text(time) }
