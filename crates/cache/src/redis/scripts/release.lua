-- Gives back the right to fill (CA-4), which somebody else may have by now.
-- KEYS: lease. ARGV: token of the lease. Answers 1 if it was still the token's.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
