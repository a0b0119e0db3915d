-- Requests of one kind, for wrk. The arguments are a method, a path, how many
-- different numbers stand in its place NUMBER (0: a new one each time), and a body.

local method, path, numbers, body
local headers = { ["content-type"] = "application/json" }
local count = 0

function init(arguments)
  method, path = arguments[1], arguments[2]
  numbers, body = tonumber(arguments[3]), arguments[4]
end

function request()
  count = count + 1
  local number = count
  if numbers > 0 then
    -- A stride that meets all of them, in no order that helps a cache. From 2 on:
    -- wrk throws the first request of a run away, so there is no number 1.
    number = (count * 7919) % numbers + 2
  end
  local target = string.gsub(path, "NUMBER", string.format("%06d", number))
  return wrk.format(method, target, headers, body)
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'FIGURES {"requests":%d,"seconds":%f,"p50":%f,"p99":%f,"failed":%d,"broken":%d}\n',
    summary.requests,
    summary.duration / 1e6,
    latency:percentile(50) / 1e3,
    latency:percentile(99) / 1e3,
    errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
