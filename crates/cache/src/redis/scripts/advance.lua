-- Moves a mark on, never back (CA-3). The numbers are compared as text: Lua's are exact up to 2^53 only.
-- KEYS: marks of a source. ARGV: partition, position in decimal digits without leading zeros.
local at = redis.call('HGET', KEYS[1], ARGV[1])
if at and (#at > #ARGV[2] or (#at == #ARGV[2] and at >= ARGV[2])) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
