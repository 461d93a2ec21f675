-- Invalidates a key (CA-2): a tombstone of the version refuses fillers with an older one, and the lease is deleted.
-- KEYS: value, lease. ARGV: version as 20 digits, or the empty text for whatever is stored; its life in ms.
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
local version = version_at(KEYS[1])
local asked = ARGV[1]
if asked == '' then
  asked = version ~= '' and version or string.rep('0', 20)
elseif version > asked then
  return 0
elseif version == asked and is_value_at(KEYS[1]) then
  return 0
end
redis.call('SET', KEYS[1], asked .. 'T', 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1
