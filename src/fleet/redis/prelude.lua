-- In every script ARGV[1] is the time in a test, otherwise 0. ARGV[2] is the last moment at which
-- the caller still waits.
local TTL = 90000000
local function num(value) return tonumber(value) or 0 end
-- Reads a number that only rises. Our scripts never write so large a number: it was planted, and
-- would soon no longer be exact.
local function exact(value)
  local number = num(value)
  return number < 2251799813685248 and number or 0
end
local function text(value) return string.format('%.0f', value) end
local time = num(ARGV[1])
if time == 0 then
  local parts = redis.call('TIME')
  time = parts[1] * 1000 + math.floor(parts[2] / 1000)
end
if time > num(ARGV[2]) then return { 'late', text(time) } end
local now = time
-- Makes a clock that steps back stand still, so that `now` never runs back for the keys of one
-- state.
local function be_steady(state)
  local last = redis.call('HMGET', state, 'now', 'ahead')
  local last_now, ahead = num(last[1]), num(last[2])
  -- Our scripts never write a larger number: see `exact`. A planted `nan` fails every comparison.
  if not (last_now < 2251799813685248 and ahead <= last_now) then last_now, ahead = 0, 0 end
  now = math.max(time + ahead, last_now)
  redis.call('HSET', state, 'now', text(now), 'ahead', text(now - time))
  redis.call('PEXPIRE', state, TTL)
end
local function keep(...)
  for _, key in ipairs({ ... }) do redis.call('PEXPIRE', key, TTL) end
end
