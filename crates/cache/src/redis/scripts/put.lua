-- Stores what has been committed (CA-8), unless a higher version or its tombstone is there. Who fills meanwhile loses
-- the lease.
-- KEYS: value, lease. ARGV: text to store (the first 20 bytes are its version), its life in ms.
-- What somebody else wrote there counts as absent, which has the empty text: it is below every version.
local function version_at(key)
  local stored = redis.pcall('GETRANGE', key, 0, 19)
  local is_version = type(stored) == 'string' and #stored == 20 and string.find(stored, '^%d+$')
  return is_version and stored or ''
end
if version_at(KEYS[1]) > string.sub(ARGV[1], 1, 20) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1
