-- Moves a mark on, never back (CA-3). The numbers are compared as text: Lua's are exact up to 2^53 only.
-- KEYS: marks of a source. ARGV: partition, position in decimal digits without leading zeros, fingerprint in hex digits.
-- Answers 1 if it moved. What is no mark, since somebody else wrote it or it is of an earlier form, counts as none.
if redis.call('TYPE', KEYS[1]).ok ~= 'hash' then
  redis.call('DEL', KEYS[1])
end
local function position(text)
  local n, fingerprint = string.match(text or '', '^(%d+):(%x+)$')
  local is_mark = n and #fingerprint == 16 and (n == '0' or string.sub(n, 1, 1) ~= '0')
  -- The greatest there is.
  local is_one = is_mark and (#n < 19 or (#n == 19 and n <= '9223372036854775807'))
  return is_one and n or nil
end
local n = position(redis.call('HGET', KEYS[1], ARGV[1]) or nil)
if n and (#n > #ARGV[2] or (#n == #ARGV[2] and n >= ARGV[2])) then
  return 0
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
return 1
