-- Takes tokens from one bucket per key, all or none, by the server's clock.
-- ARGV holds four whole numbers per key: capacity, count, cost, and the microseconds of a unit.
-- A bucket is a hash of its level l and the time t at which it had it; a missing one is full.
-- All numbers stay below 2^53 and quotients are taken of numbers up to 2^52, for which / followed by ceil or floor is exact.
local time = redis.call('TIME')
local micros = time[1] * 1000000 + time[2]
local buckets, allowed = {}, 1
for i, key in ipairs(KEYS) do
  local capacity, count = tonumber(ARGV[4 * i - 3]), tonumber(ARGV[4 * i - 2])
  local cost, unit = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local now = math.floor(micros / unit)
  local stored = redis.call('HMGET', key, 'l', 't')
  local level, at = tonumber(stored[1] or ''), tonumber(stored[2] or '')
  local ahead = false
  if level and at then
    level = math.min(level, capacity)
    local latest = now + math.ceil(capacity / count)
    if at > latest then
      at, ahead = latest, true
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
  if cost > level then
    allowed = 0
  end
  buckets[i] = { capacity = capacity, count = count, cost = cost, unit = unit, now = now, level = level, at = at, ahead = ahead }
end
local reply = { allowed }
for i, key in ipairs(KEYS) do
  local b = buckets[i]
  local retry = 0
  if b.cost > b.level then
    retry = math.max(b.at - b.now, 0) + math.ceil((b.cost - b.level) / b.count)
  end
  if allowed == 1 then
    b.level = math.min(b.level - b.cost, b.capacity)
  end
  local reset = 0
  if b.level < b.capacity then
    reset = math.max(b.at - b.now, 0) + math.ceil((b.capacity - b.level) / b.count)
  end
  if b.level == b.capacity then
    redis.call('DEL', key)
  elseif (allowed == 1 and b.cost ~= 0) or b.ahead then
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
