-- Stores what a filler loaded (CA-2): only with its lease, and never over a higher version or its tombstone.
-- KEYS: value, lease. ARGV: token of the lease, text to store (the first 20 bytes are its version), its life in ms.
-- What somebody else wrote there counts as absent, which has the empty text: it is below every version.
local function version_at(key)
  local stored = redis.pcall('GETRANGE', key, 0, 19)
  local is_version = type(stored) == 'string' and #stored == 20 and string.find(stored, '^%d+$')
  return is_version and stored or ''
end
if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
if version_at(KEYS[1]) > string.sub(ARGV[2], 1, 20) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
