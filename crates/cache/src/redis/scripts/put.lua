-- Stores what has been committed (CA-8), unless a higher version or its tombstone is there. Who fills meanwhile loses
-- the lease. Where no value is there, nobody remembers whether something higher was, before a flush or an eviction: then
-- a tombstone of the version is left instead, which refuses older fillers, and the next load fills.
-- KEYS: value, lease. ARGV: text to store (the first 20 bytes are its version), its life in ms, life of a tombstone in ms.
-- Answers 1 if the text is stored.
-- What somebody else wrote there counts as absent, which has the empty text: it is below every version.
local function version_at(key)
  local stored = redis.pcall('GETRANGE', key, 0, 19)
  local is_version = type(stored) == 'string' and #stored == 20 and string.find(stored, '^%d+$')
  return is_version and stored or ''
end
-- Whether it is a value: neither a tombstone nor an absence.
local function is_value_at(key)
  local kind = redis.call('GETRANGE', key, 20, 20)
  return kind ~= 'T' and kind ~= 'A'
end
local version = string.sub(ARGV[1], 1, 20)
local there = version_at(KEYS[1])
if there > version then
  return 0
end
redis.call('DEL', KEYS[2])
if there == '' or not is_value_at(KEYS[1]) then
  redis.call('SET', KEYS[1], version .. 'T', 'PX', ARGV[3])
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
