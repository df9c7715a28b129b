-- KEYS: the places, the accounts, the gate's state. ARGV: process, number, epoch, limit, window,
-- want, held, stated limit, stated window, what is left of the server's window, its reset, how long
-- it is closed, what the other processes had taken, for how long. Then for each use: count, age,
-- since.
local p, u, g = KEYS[1], KEYS[2], KEYS[3]
be_steady(g)
local process, number, asked_epoch, want, held = ARGV[3], num(ARGV[4]), num(ARGV[5]), num(ARGV[8]), num(ARGV[9])

local accounts = {}
do
  local all = redis.call('HGETALL', u)
  for i = 1, #all, 2 do
    local has, last, till, wants, waits_until, arrival = string.match(all[i + 1], '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+)$')
    if has and num(till) > now then
      if num(waits_until) <= now then wants = 0 end
      accounts[all[i]] = { held = num(has), number = num(last), till = num(till), want = num(wants), arrival = num(arrival) }
    else
      redis.call('HDEL', u, all[i])
    end
  end
end
local account = accounts[process] or { held = 0, number = 0, want = 0, arrival = 0 }
local last_number, last_held = account.number, account.held
if number <= last_number then return { 'overtaken', text(time) } end

local state = redis.call('HMGET', g, 'epoch', 'hold', 'closed', 'limit', 'window', 'stated', 'arrivals')
local epoch, hold, closed, arrivals = exact(state[1]), num(state[2]), num(state[3]), num(state[7])
local stated_limit, stated_window, stated_until = num(state[4]), num(state[5]), num(state[6])
local is_new = epoch == 0
if is_new then epoch = math.max(now, asked_epoch + 1) end
if ARGV[10] ~= '' then
  stated_limit, stated_window = num(ARGV[10]), num(ARGV[11])
  stated_until = now + stated_window * 5
end
local limit, window = num(ARGV[6]), num(ARGV[7])
if stated_until > now then limit, window = stated_limit, stated_window end
window = math.max(1, window)

redis.call('ZREMRANGEBYSCORE', p, '-inf', text(now))
-- A process with another epoch learns of the new epoch by this exchange, and reports everything in
-- the next exchange.
local is_news = asked_epoch ~= 0 and asked_epoch ~= epoch
local used = 0
for i = 17, #ARGV, 3 do
  if not is_news and num(ARGV[i + 2]) > last_number then
    used = used + num(ARGV[i])
    local free_at = now + math.max(0, window - num(ARGV[i + 1]))
    if free_at > now then
      redis.call('ZADD', p, text(free_at), process .. ':' .. ARGV[4] .. ':' .. text(i) .. ':' .. ARGV[i])
    end
  end
end
local without_permit = math.max(0, used + held - last_held)
if is_news or without_permit > 0 then hold = math.max(hold, now + math.floor(window / 60)) end
local forgotten_free_at = now + math.min(num(ARGV[16]), window)
local remembers = is_news and is_new and num(ARGV[15]) > 0 and forgotten_free_at > now
if remembers then redis.call('ZADD', p, text(forgotten_free_at), '0:1:' .. process .. ':' .. ARGV[15]) end

account.held, account.number, account.till = held, number, now + window + 30000
if want > 0 and account.want == 0 then
  arrivals = arrivals + 1
  account.arrival = arrivals
end
account.want = want
accounts[process] = account

local places, occupied, taken = {}, {}, 0
do
  local all = redis.call('ZRANGE', p, 0, -1, 'WITHSCORES')
  for i = 1, #all, 2 do
    local owner, kind, by, count = string.match(all[i], '^(%d+):(%d+):(%d+):(%d+)$')
    count = num(count)
    if owner == '0' and kind == '1' and not remembers and by ~= process and without_permit > 0 then
      -- Another process remembered these. The caller now reports its own part of them.
      redis.call('ZREM', p, all[i])
      count = math.max(0, count - without_permit)
      if count > 0 then redis.call('ZADD', p, all[i + 1], '0:1:' .. by .. ':' .. text(count)) end
    elseif owner == '0' and kind == '0' and ARGV[12] ~= '' then
      redis.call('ZREM', p, all[i])
      count = 0
    end
    if owner and count > 0 then
      places[#places + 1] = { free_at = num(all[i + 1]), count = count, owner = owner }
      taken = taken + count
      occupied[owner] = (occupied[owner] or 0) + count
    end
  end
  for _, one in pairs(accounts) do taken = taken + one.held end
end
if ARGV[12] ~= '' then
  local others = limit - num(ARGV[12]) - taken
  local free_at = now + math.min(num(ARGV[13]), 300000)
  if others > 0 and free_at > now then
    redis.call('ZADD', p, text(free_at), '0:0:0:' .. text(others))
    places[#places + 1] = { free_at = free_at, count = others, owner = '0' }
    table.sort(places, function(a, b) return a.free_at < b.free_at end)
    taken = taken + others
  end
end
if ARGV[14] ~= '' then closed = math.max(closed, now + math.min(num(ARGV[14]), 300000)) end

-- How long until more than `ahead` further places are free, as far as the store can know.
local longest = math.max(20, math.floor(window / 4))
local function until_free(ahead)
  local free = 0
  for _, place in ipairs(places) do
    free = free + place.count
    if free > ahead then return math.min(math.max(20, place.free_at - now), longest) end
  end
  return longest
end

local granted, ask_again = 0, 0
local shut_until = math.max(closed, hold)
local available = math.max(0, limit - taken)
if want == 0 then
  ask_again = 0
elseif shut_until > now then
  ask_again = shut_until - now
elseif available == 0 then
  local ahead = 0
  for _, one in pairs(accounts) do
    if one.want > 0 and one.arrival < account.arrival then ahead = ahead + 1 end
  end
  ask_again = until_free(ahead)
else
  local sharing = 0
  for other, one in pairs(accounts) do
    if one.want > 0 or (occupied[other] or 0) + one.held > 0 then sharing = sharing + 1 end
  end
  local share = math.max(1, math.floor(limit / math.max(1, sharing)))
  local ahead, behind, own = 0, 0, 0
  for other, one in pairs(accounts) do
    if one.want > 0 then
      local claim = math.min(one.want, math.max(0, share - (occupied[other] or 0) - one.held))
      if other == process then
        own = claim
      elseif one.arrival < account.arrival then
        ahead = ahead + claim
      else
        behind = behind + claim
      end
    end
  end
  local after_those_ahead = math.max(0, available - ahead)
  granted = math.min(want, math.min(own, after_those_ahead) + math.max(0, after_those_ahead - own - behind))
  if granted == want then
    ask_again = 0
  elseif granted < available then
    ask_again = math.min(500, until_free(0))
  else
    ask_again = until_free(0)
  end
end
local others, others_until = taken - (occupied[process] or 0) - held, 0
for _, place in ipairs(places) do
  if place.owner ~= process then others_until = math.max(others_until, place.free_at) end
end
for other, one in pairs(accounts) do
  if other ~= process and one.held > 0 then others_until = now + window end
end
others_until = math.min(others_until, now + window)
local processes = 0
for _ in pairs(accounts) do processes = processes + 1 end
redis.call('HSET', u, process, table.concat({ text(held + granted), text(number), text(account.till), text(want - granted),
  text(now + ask_again + 2000), text(account.arrival) }, ':'))
redis.call('HSET', g, 'epoch', text(epoch), 'hold', text(hold), 'closed', text(closed), 'limit', text(stated_limit),
  'window', text(stated_window), 'stated', text(stated_until), 'arrivals', text(arrivals))
keep(p, u, g)
return { 'ok', text(time), text(granted), text(ask_again), text(math.max(0, closed - now)), text(epoch), text(others), text(math.max(0, others_until - now)),
  text(processes), text(limit) }
