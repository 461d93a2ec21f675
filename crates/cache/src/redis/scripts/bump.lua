-- Invalidates all that carries a tag (CA-6), by its next version. The same cause does so once in its life.
-- KEYS: tag, cause if there is one. ARGV: life of the tag in ms, life of the cause in ms. Answers the tag's version.
-- What somebody else wrote there counts as missing.
local function number_at(key)
  local text = redis.pcall('GET', key)
  return type(text) == 'string' and #text <= 16 and string.find(text, '^%d+$') and text or nil
end
local version = number_at(KEYS[1])
local is_repeat = KEYS[2] and not redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[2])
if version and is_repeat then
  return tonumber(version)
end
if version then
  version = redis.call('INCR', KEYS[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  return version
end
local now = redis.call('TIME')
version = now[1] .. string.format('%06d', now[2])
redis.call('SET', KEYS[1], version, 'PX', ARGV[1])
return tonumber(version)
