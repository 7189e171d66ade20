// Owns how HAProxy lets a new connection wait while there is nobody to give it to: between two
// leaders, and just after it was started or reloaded, when it takes every server for healthy. Its
// own rules look once and then only when the client says more, so a script looks again and again.
// The pooler for writes is let through to an instance that has the leader key and does not write
// yet (see WAIT_FOR_WRITES in gateway.ts); whoever has a session of its own is not: the gate is
// closed until it writes. The gate delays and never refuses, as its agent may be gone.

/** Longer than any planned change and most failovers. */
export const WAIT_MS_MAX = 5000
/** A connection goes on this soon after the switch points at a leader. */
const LOOK_MS = 3
/**
 * Of many that wait, each looks less often: together this many times in a millisecond. A thousand
 * that look every 3 ms take a processor of their own, just when a new leader needs it. Those that
 * are through are counted, too, so it ends somewhere.
 */
const LOOKS_PER_MS = 10
const LOOK_MS_MAX = 25

export const HAPROXY_WAIT = `-- Rendered by Howdah; see core/src/render/haproxy-wait.ts.
local function await(frontend, is_there)
  return function(txn)
    local began = core.now()
    while not is_there(txn) do
      local now = core.now()
      local waited_ms = (now.sec - began.sec) * 1000 + (now.usec - began.usec) / 1000
      if waited_ms > ${WAIT_MS_MAX} then return end
      local others = txn.f:fe_conn(frontend)
      local share_ms = math.floor(others / ${LOOKS_PER_MS})
      core.msleep(math.min(${LOOK_MS_MAX}, math.max(${LOOK_MS}, share_ms)))
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
`
