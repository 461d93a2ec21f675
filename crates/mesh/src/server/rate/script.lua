-- Takes tokens from one bucket per key, all or none, by the server's clock.
-- ARGV holds five whole numbers per key: capacity, count, cost, the microseconds of a unit, and the debt: what was admitted while
-- the bucket was out of reach, which is taken first, as far as there is something.
-- A bucket is a hash of its level l and the time t at which it had it; a missing one is full, and so is what is none.
-- All numbers stay below 2^53 and quotients are taken of numbers up to 2^52, for which / followed by ceil or floor is exact.
local function whole(text)
  local number = tonumber(text or '')
  if number and number == number then
    return math.floor(number)
  end
  return nil
end
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local buckets, allowed = {}, 1
for i, key in ipairs(KEYS) do
  local capacity, count, cost = tonumber(ARGV[5 * i - 4]), tonumber(ARGV[5 * i - 3]), tonumber(ARGV[5 * i - 2])
  local unit, debt = tonumber(ARGV[5 * i - 1]), tonumber(ARGV[5 * i])
  local now = math.floor(micros / unit)
  local stored = redis.pcall('HMGET', key, 'l', 't')
  if stored.err then
    if not string.find(stored.err, 'WRONGTYPE', 1, true) then
      return stored
    end
    redis.call('DEL', key)
    stored = {}
  end
  local level, at = whole(stored[1]), whole(stored[2])
  local changed = false
  if level and at then
    level = math.max(0, math.min(level, capacity))
    local latest = now + math.ceil(capacity / count)
    if at > latest then
      at, changed = latest, true
    end
    if now > at then
      local elapsed = now - at
      if elapsed >= math.ceil((capacity - level) / count) then
        level = capacity
      else
        level = level + elapsed * count
      end
      at = now
    end
  else
    level, at = capacity, now
  end
  debt = math.min(debt, level)
  if debt > 0 then
    level, changed = level - debt, true
  end
  if cost > level then
    allowed = 0
  end
  buckets[i] = { capacity = capacity, count = count, cost = cost, unit = unit, now = now, level = level, at = at, changed = changed }
end
local reply = { allowed }
for i, key in ipairs(KEYS) do
  local b = buckets[i]
  local function wait(level)
    if level <= b.level then
      return 0
    end
    -- Nobody waits for longer than a bucket takes to fill.
    return math.min(math.max(b.at - b.now, 0) + math.ceil((level - b.level) / b.count), math.ceil(b.capacity / b.count))
  end
  local retry = wait(b.cost)
  if allowed == 1 then
    b.level = math.min(b.level - b.cost, b.capacity)
  end
  local reset = wait(b.capacity)
  if b.level == b.capacity then
    redis.call('DEL', key)
  elseif (allowed == 1 and b.cost ~= 0) or b.changed then
    -- Until it is full, and a second for what the clock of expiry is beside this one.
    local expiry = math.ceil(reset / (1000 / b.unit)) + 1000
    redis.call('HSET', key, 'l', string.format('%.0f', b.level), 't', string.format('%.0f', b.at))
    redis.call('PEXPIRE', key, string.format('%.0f', expiry))
  end
  reply[#reply + 1] = retry
  reply[#reply + 1] = reset
  reply[#reply + 1] = b.level
end
return reply
