-- A sign of life (CA-7) that writes, so that a server that was demoted to a replica refuses it, and by which it shows
-- whether Redis holds what it held: a flush takes the epoch away, and another one comes instead; older data has counted
-- fewer beats; a server that has taken over the data of another one has another id of replication.
-- KEYS: epoch. ARGV: the epoch if there is none. Answers {epoch, beats in it, id of replication or the empty text}.
-- What somebody else wrote there counts as missing; so does what Lua can't count up exactly.
local text = redis.pcall('GET', KEYS[1])
local epoch, beats
if type(text) == 'string' then
  epoch, beats = string.match(text, '^(%x+):(%d+)$')
  beats = tonumber(beats)
end
if not epoch or #epoch ~= #ARGV[1] or beats >= 9007199254740991 then
  epoch, beats = ARGV[1], 0
end
beats = beats + 1
redis.call('SET', KEYS[1], epoch .. ':' .. string.format('%.0f', beats))
-- Where it has no second id, it was never another one's replica: its first id changes for no such reason.
local replication = redis.pcall('INFO', 'replication')
local is_heir = type(replication) == 'string' and string.find(replication, 'master_replid2:0*[1-9a-f]')
return {epoch, beats, is_heir and string.match(replication, 'master_replid:(%x+)') or ''}
