-- Gives the right to fill (CA-4): a lease for one filler, and what is stored now, which may be there by now.
-- KEYS: value, lease. ARGV: token of the lease, its life in ms. Answers {1 if it is given, stored text or nil}.
local given = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
-- A lease ends by itself: what doesn't is what somebody else wrote there, and would keep all from filling for ever.
if not given and redis.call('PTTL', KEYS[2]) < 0 then
  given = redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
-- What somebody else wrote there may be no text.
local stored = redis.pcall('GET', KEYS[1])
return {given and 1 or 0, type(stored) == 'string' and stored or false}
