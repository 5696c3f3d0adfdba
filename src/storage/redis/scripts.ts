/**
 * The scripts that run inside of Redis: each one is a step that happens whole or not at all. Thread: none of ours; sent by
 * the connection beside this file.
 *
 * Keys of a partition, in one slot by the name between braces
 *   <prefix>{<name>}:meta         hash: id, writer, start, end, size, top (largest timestamp so far), settings, producers,
 *                                 producersAt (their offset)
 *   <prefix>{<name>}:<id>:index   stream with one small entry for each run: `<end>-0`, with b base offset, t largest
 *                                 timestamp, m the same of all runs up to it, s bytes
 *   <prefix>{<name>}:<id>:bytes   hash: base offset -> bytes of the run
 *
 * A stream as index is compact, is searched by offset (ids ascend, Redis sees to it) and trimmed by offset. The bytes are
 * not in it, because XRANGE has no bound of bytes, and because ages and sizes are read without them.
 *
 * Numbers are decimal text, compared as text, since Lua would turn them into floating point; below 2^53 either is exact.
 * A script writes nothing before all its conditions hold, and Redis refuses for want of memory before the first write.
 */

const fenced = `
local function fenced(id, writer)
  local now = redis.call('HMGET', KEYS[1], 'id', 'writer')
  return now[1] ~= id or now[2] ~= writer
end
`;

/** KEYS meta. ARGV id, settings. Answers the id of the partition that is there. */
export const createScript = `
local id = redis.call('HGET', KEYS[1], 'id')
if id then return id end
redis.call('HSET', KEYS[1], 'id', ARGV[1], 'settings', ARGV[2], 'writer', '0', 'start', '0', 'end', '0', 'size', '0')
return ARGV[1]
`;

/** KEYS meta, index, bytes. ARGV id. */
export const removeScript = `
if redis.call('HGET', KEYS[1], 'id') == ARGV[1] then redis.call('UNLINK', KEYS[1]) end
redis.call('UNLINK', KEYS[2], KEYS[3])
return 1
`;

/** KEYS names. ARGV name, id. */
export const forgetNameScript = `
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return redis.call('HDEL', KEYS[1], ARGV[1]) end
return 0
`;

/** KEYS meta. Answers id, writer, start, end, size, settings, producers; null when there is no partition. */
export const claimScript = `
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
redis.call('HINCRBY', KEYS[1], 'writer', 1)
return redis.call('HMGET', KEYS[1], 'id', 'writer', 'start', 'end', 'size', 'settings', 'producers')
`;

/**
 * KEYS meta. ARGV id, touch. Answers start, end, size; null when there is none. With touch `1` it writes something, so
 * that the connection has a write to wait for, behind all that it saw.
 */
export const placesScript = `
local now = redis.call('HMGET', KEYS[1], 'id', 'start', 'end', 'size')
if now[1] ~= ARGV[1] then return false end
if ARGV[2] == '1' then redis.call('HINCRBY', KEYS[1], 'looked', 1) end
return {now[2], now[3], now[4]}
`;

/** KEYS meta. ARGV id, settings. */
export const changeScript = `
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'settings', ARGV[2])
return 1
`;

/** KEYS meta, index, bytes. ARGV id, writer, base, end, largest timestamp, bytes. */
export const appendScript = `
local now = redis.call('HMGET', KEYS[1], 'id', 'writer', 'end', 'top')
if now[1] ~= ARGV[1] or now[2] ~= ARGV[2] then return 'fenced' end
if now[3] ~= ARGV[3] then return 'conflict' end
local top = now[4]
if not top or tonumber(top) < tonumber(ARGV[5]) then top = ARGV[5] end
local size = #ARGV[6]
redis.call('HSET', KEYS[3], ARGV[3], ARGV[6])
redis.call('XADD', KEYS[2], ARGV[4] .. '-0', 'b', ARGV[3], 't', ARGV[5], 'm', top, 's', size)
redis.call('HSET', KEYS[1], 'end', ARGV[4], 'top', top)
redis.call('HINCRBY', KEYS[1], 'size', size)
return 'stored'
`;

/** KEYS meta, index, bytes. ARGV id, first id of the index, bytes at most. Answers the bytes of the runs, up to one that is missing. */
export const readScript = `
if redis.call('HGET', KEYS[1], 'id') ~= ARGV[1] then return redis.error_reply('RINGMQ_GONE') end
local left = tonumber(ARGV[3])
local bases = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[2], ARGV[2], '+', 'COUNT', 256)) do
  local size = tonumber(entry[2][8])
  if #bases > 0 and size > left then break end
  left = left - size
  bases[#bases + 1] = entry[2][2]
end
if #bases == 0 then return {} end
local runs = redis.call('HMGET', KEYS[3], unpack(bases))
for at = 1, #bases do
  if not runs[at] then return {unpack(runs, 1, at - 1)} end
end
return runs
`;

/**
 * KEYS index. ARGV first id of the index, timestamp. Answers the base offset of the first run from there on that has it or
 * a later one, null when there is none, and `scan` when earlier, deleted runs were later, so that the order says nothing.
 */
export const findTimeScript = `
local function at(id)
  local entry = redis.call('XRANGE', KEYS[1], id, '+', 'COUNT', 1)[1]
  if not entry then return nil end
  local f = entry[2]
  return {id = tonumber(string.match(entry[1], '^%d+')), base = f[2], time = tonumber(f[4]), top = tonumber(f[6])}
end
local wanted = tonumber(ARGV[2])
local first = at(ARGV[1])
if not first then return false end
if first.time >= wanted then return first.base end
if first.top >= wanted then return 'scan' end
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
if tonumber(last[2][6]) < wanted then return false end
local low = first.id + 1
local high = tonumber(string.match(last[1], '^%d+'))
while low < high do
  local middle = low + math.floor((high - low) / 2)
  local entry = at(string.format('%.0f', middle))
  if entry.top >= wanted then high = middle else low = entry.id + 1 end
end
return at(string.format('%.0f', low)).base
`;

/** KEYS meta, index, bytes. ARGV id, writer, offset, runs at most. Answers how many runs it deleted, -1 when fenced. */
export const deleteScript = `
${fenced}
if fenced(ARGV[1], ARGV[2]) then return -1 end
if tonumber(redis.call('HGET', KEYS[1], 'start')) < tonumber(ARGV[3]) then
  redis.call('HSET', KEYS[1], 'start', ARGV[3])
end
local entries = redis.call('XRANGE', KEYS[2], '-', ARGV[3] .. '-0', 'COUNT', ARGV[4])
if #entries == 0 then return 0 end
local bases = {}
local size = 0
for at, entry in ipairs(entries) do
  bases[at] = entry[2][2]
  size = size + tonumber(entry[2][8])
end
redis.call('HDEL', KEYS[3], unpack(bases))
redis.call('XTRIM', KEYS[2], 'MINID', string.match(entries[#entries][1], '^%d+') .. '-1')
redis.call('HINCRBY', KEYS[1], 'size', string.format('%.0f', -size))
return #entries
`;

/** KEYS meta. ARGV id, writer, offset, snapshot. */
export const saveProducersScript = `
${fenced}
if fenced(ARGV[1], ARGV[2]) then return 0 end
local before = redis.call('HGET', KEYS[1], 'producersAt')
if before and tonumber(before) > tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], 'producersAt', ARGV[3], 'producers', ARGV[4])
return 1
`;
