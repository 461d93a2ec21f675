-- Invalidates a key (CA-2): a tombstone of the version refuses fillers with an older one, and the lease is deleted.
-- KEYS: value, lease. ARGV: version as 20 digits, or the empty text for whatever is stored; its life in ms.
local stored = redis.call('GETRANGE', KEYS[1], 0, 21)
local version = string.sub(stored, 1, 20)
local is_value = stored ~= '' and string.sub(stored, 21) ~= 'T'
local asked = ARGV[1]
if asked == '' then
  asked = version ~= '' and version or string.rep('0', 20)
elseif version > asked or (version == asked and is_value) then
  return 0
end
redis.call('SET', KEYS[1], asked .. 'T', 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1
