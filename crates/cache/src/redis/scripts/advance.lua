-- Moves a mark on, never back (CA-3). The numbers are compared as text: Lua's are exact up to 2^53 only.
-- KEYS: marks of a source. ARGV: partition, position in decimal digits without leading zeros, fingerprint in hex digits.
-- Answers 1 if it moved. What has no fingerprint counts as none.
local at = redis.call('HGET', KEYS[1], ARGV[1])
local n = at and string.match(at, '^(%d+):%x+$')
if n and (#n > #ARGV[2] or (#n == #ARGV[2] and n >= ARGV[2])) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
return 1
