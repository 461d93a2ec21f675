-- The versions of tags (CA-6). A missing one begins at the server's time in µs, so that a tag that was evicted or
-- flushed never comes back to a number that it had.
-- KEYS: tags. ARGV: their life in ms.
-- What somebody else wrote there counts as missing.
local function number_at(key)
  local text = redis.pcall('GET', key)
  return type(text) == 'string' and #text <= 16 and string.find(text, '^%d+$') and text or nil
end
local versions = {}
for i, tag in ipairs(KEYS) do
  local version = number_at(tag)
  if not version then
    local now = redis.call('TIME')
    version = now[1] .. string.format('%06d', now[2])
    redis.call('SET', tag, version, 'PX', ARGV[1])
  end
  versions[i] = tonumber(version)
end
return versions
