-- Rendered by Howdah; see core/src/render/haproxy-wait.ts.
local function await(frontend, is_there)
  return function(txn)
    local began = core.now()
    while not is_there(txn) do
      local now = core.now()
      local waited_ms = (now.sec - began.sec) * 1000 + (now.usec - began.usec) / 1000
      if waited_ms > 5000 then return end
      local others = txn.f:fe_conn(frontend)
      local share_ms = math.floor(others / 10)
      core.msleep(math.min(25, math.max(3, share_ms)))
    end
  end
end

core.register_action("await_leader", { "tcp-req" }, await("write-direct", function(txn)
  return txn.f:nbsrv("write") == 1 and txn.f:nbsrv("gate") == 1
end))

core.register_action("await_heir", { "tcp-req" }, await("pooler", function(txn)
  return txn.f:nbsrv("write") == 1
end))

core.register_action("await_reader", { "tcp-req" }, await("read", function(txn)
  return txn.f:nbsrv("replicas") > 0 or txn.f:nbsrv("leader") == 1
end))
