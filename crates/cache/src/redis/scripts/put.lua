-- Stores what has been committed (CA-8), unless a higher version or its tombstone is there. Who fills meanwhile loses
-- the lease.
-- KEYS: value, lease. ARGV: text to store (the first 20 bytes are its version), its life in ms.
if redis.call('GETRANGE', KEYS[1], 0, 19) > string.sub(ARGV[1], 1, 20) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('DEL', KEYS[2])
return 1
