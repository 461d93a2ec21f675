-- Invalidates all that carries a tag (CA-6), by its next version. The same cause does so once in its life.
-- The next version is at least the server's time in µs: a server that came back with older data never gives a version
-- again that it has given before.
-- KEYS: tag, cause if there is one. ARGV: life of the tag in ms, life of the cause in ms. Answers the tag's version.
-- What somebody else wrote there counts as missing; so does what Lua can't count up exactly. It never makes the first
-- bump of a cause look like a repetition.
local function number_at(key)
  local text = redis.pcall('GET', key)
  local number = type(text) == 'string' and string.find(text, '^%d+$') and tonumber(text)
  return number and number < 9007199254740991 and number or nil
end
local version = number_at(KEYS[1])
if KEYS[2] then
  if version and redis.pcall('GET', KEYS[2]) == '1' then
    return version
  end
  redis.call('SET', KEYS[2], '1', 'PX', ARGV[2])
end
local now = redis.call('TIME')
local time = tonumber(now[1]) * 1000000 + tonumber(now[2])
version = math.max(version and version + 1 or 0, time)
redis.call('SET', KEYS[1], string.format('%.0f', version), 'PX', ARGV[1])
return version
