-- KEYS of the token scripts: the slot, the places of the allowance, the processes, the allowance's
-- state.
local t, q, n, e = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
be_steady(e)
local slot = {}
do
  local fields = { 'generation', 'issued', 'lifetime', 'forced', 'refused', 'effect', 'fence', 'invalid', 'lease_process',
    'lease_fence', 'lease_until', 'cooling', 'failures', 'ineffective', 'paused' }
  local values = redis.call('HMGET', t, unpack(fields))
  for i, field in ipairs(fields) do slot[field] = values[i] or '' end
end
local function set(field, value)
  if type(value) == 'number' then value = text(value) end
  slot[field] = value
  redis.call('HSET', t, field, value)
end
local generation, fence, invalid = exact(slot.generation), exact(slot.fence), exact(slot.invalid)
local function remaining()
  local lifetime = num(slot.lifetime)
  return math.max(0, math.min(num(slot.issued) + lifetime - now, lifetime))
end
local function doubled(times) return math.min(1000 * 2 ^ math.min(times, 16), 60000) end
local function pause()
  set('paused', now + doubled(num(slot.ineffective)))
  set('ineffective', math.min(num(slot.ineffective) + 1, 16))
end
local function is_mine(process, lease) return slot.lease_process == process and slot.lease_fence == lease end
local function allowance_wait(limit, recovery)
  local reserved = 0
  if not recovery then reserved = math.floor(limit / 5) end
  local excess = redis.call('ZCARD', q) - math.max(1, limit - reserved)
  local wait = 0
  if excess >= 0 then
    local place = redis.call('ZRANGE', q, text(excess), text(excess), 'WITHSCORES')
    if place[2] then wait = math.max(0, num(place[2]) - now) end
  end
  local left = redis.call('HMGET', e, 'left', 'left_until')
  if num(left[1]) == 0 then wait = math.max(wait, num(left[2]) - now) end
  return wait
end
local function take(process, lease, request, free_at)
  redis.call('ZADD', q, text(free_at), process .. ':' .. lease .. ':' .. request)
  local left = num(redis.call('HGET', e, 'left'))
  if left > 0 then redis.call('HSET', e, 'left', text(left - 1)) end
end
local function learn(left, reset)
  if left ~= '' then
    redis.call('HSET', e, 'left', left, 'left_until', text(now + math.min(num(reset), 300000)))
  end
end
