-- For wrk: sends one lookup again and again, counts the answers by their status, and ends with figures as JSON.
answered, overloaded, others = 0, 0, 0

function setup(thread) one = thread end

function init(args)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.body = io.open(args[1]):read("*a")
end

function response(status, headers, body)
  if status == 200 then answered = answered + 1
  elseif status == 503 and headers["Retry-After"] then overloaded = overloaded + 1
  else others = others + 1 end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"answered": %d, "overloaded": %d, "others": %d, "errors": %d}\n',
    one:get("answered"), one:get("overloaded"), one:get("others"),
    errors.connect + errors.read + errors.write + errors.timeout))
end
