"""What runs inside Redis: whatever must be of one moment, or happen whole or not at all. Keys and what is in them: `redis_layout`."""

from consumer.adapters.redis_connection import Script

# `APPLY` must not fail between two writes, so each command it uses is tried here in a form that changes nothing: an
# ACL that lacks one shows now.
CLAIM = Script("""
local head, outbox, probe, redo = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local stored = redis.call('HGET', head, 'epoch') or '0'
if tonumber(stored) > tonumber(ARGV[1]) then return {'fenced', stored} end
for _, field in ipairs(redis.call('HKEYS', head)) do
  local partition = string.match(field, '^applied:(.+)$')
  if partition and partition ~= ARGV[2] then return {'elsewhere', partition} end
end
redis.call('HSET', head, 'epoch', ARGV[1])
redis.call('HINCRBY', head, 'seq', 0)
redis.call('HDEL', head, '')
redis.call('ZADD', outbox, 'XX', 0, '')
redis.call('ZREMRANGEBYSCORE', outbox, '-inf', 0)
redis.call('ZREM', redo, '')
redis.call('SET', probe, '', 'EX', 1, 'XX')
redis.call('DEL', probe)
return {'claimed', redis.call('HGET', head, 'applied:' .. ARGV[2]) or '-1'}
""")

# Redis refuses the first write of a script when it is out of memory, and none after it: the batch is written whole
# or not at all. Everything that could fail on the content (unpacking, comparing) comes before that write.
APPLY = Script("""
local head, outbox, redo = KEYS[1], KEYS[2], KEYS[3]
local stored = redis.call('HGET', head, 'epoch') or '0'
if tonumber(stored) ~= tonumber(ARGV[1]) then return {'fenced', stored} end
local applied = 'applied:' .. ARGV[2]
local last = redis.call('HGET', head, applied) or '-1'
if tonumber(last) >= tonumber(ARGV[3]) then return {'before'} end
if ARGV[8] ~= '' and last ~= ARGV[8] then return {'behind', last} end
local commands, entries = cmsgpack.unpack(ARGV[4]), cmsgpack.unpack(ARGV[5])
local done, again = cmsgpack.unpack(ARGV[6]), cmsgpack.unpack(ARGV[7])
redis.call('HSET', head, applied, ARGV[3])
for _, command in ipairs(commands) do
  redis.call(command[1], KEYS[command[2]], unpack(command, 3))
end
local seq = redis.call('HINCRBY', head, 'seq', #entries) - #entries
for i, entry in ipairs(entries) do
  local number = string.format('%.0f', seq + i)
  redis.call('ZADD', outbox, number, number .. ':' .. entry)
end
for _, record in ipairs(done) do redis.call('ZREM', redo, record) end
for _, record in ipairs(again) do redis.call('ZADD', redo, 'NX', redis.call('HINCRBY', head, 'redo', 1), record) end
return {'applied'}
""")

ACKNOWLEDGE = Script("""
local stored = redis.call('HGET', KEYS[1], 'epoch') or '0'
if tonumber(stored) ~= tonumber(ARGV[1]) then return {'fenced', stored} end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[2])
return {'done'}
""")

# A script, so that what is asked together is of one moment, and comes as one reply: many replies would cost the client
# more than what they say.
READ = Script("""
local found = {}
for i, command in ipairs(cmsgpack.unpack(ARGV[1])) do
  found[i] = redis.call(command[1], KEYS[command[2]], unpack(command, 3))
end
return found
""")
