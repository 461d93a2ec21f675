-- A sign of life (CA-7) that writes, so that a server that was demoted to a replica refuses it, and the epoch: a flush
-- takes it away, and another number comes instead.
-- KEYS: epoch. ARGV: the epoch if there is none.
local epoch = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], epoch)
return epoch
