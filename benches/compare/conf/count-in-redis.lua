-- One INCR a request; the count begins anew every 31 days. Without Redis the request is refused.
local key = ngx.var.http_x_api_key
if not key then
  return ngx.exit(401)
end

local redis = ngx.socket.tcp()
redis:settimeouts(1000, 1000, 1000)

local function ask(command)
  if not redis:send(command) then
    return nil
  end
  local answer = redis:receive("*l")
  return answer and tonumber(answer:match("^:(%d+)$"))
end

if not redis:connect("127.0.0.1", ngx.var.redis_port) then
  return ngx.exit(503)
end
local word = "$" .. #key .. "\r\n" .. key .. "\r\n"
local count = ask("*2\r\n$4\r\nINCR\r\n" .. word)
if count == 1 then
  ask("*3\r\n$6\r\nEXPIRE\r\n" .. word .. "$7\r\n2678400\r\n")
end
if not count then
  redis:close()
  return ngx.exit(503)
end
redis:setkeepalive(60000, 128)
if count > tonumber(ngx.var.key_limit) then
  return ngx.exit(429)
end
