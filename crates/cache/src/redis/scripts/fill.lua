-- Stores what a filler loaded (CA-2): only with its lease, and never over a higher version or its tombstone.
-- KEYS: value, lease. ARGV: token of the lease, text to store (the first 20 bytes are its version), its life in ms.
if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[2])
-- An absent key has the empty text, which is below every version.
if redis.call('GETRANGE', KEYS[1], 0, 19) > string.sub(ARGV[2], 1, 20) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
