-- Every script: ARGV[1] is the time for a test, else 0; ARGV[2] is the last moment at which the caller still waits.
local TTL = 90000000
local function num(value) return tonumber(value) or 0 end
local function text(value) return string.format('%.0f', value) end
local now = num(ARGV[1])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end
if now > num(ARGV[2]) then return { 'late', text(now) } end
local function keep(...)
  for _, key in ipairs({ ... }) do redis.call('PEXPIRE', key, TTL) end
end
