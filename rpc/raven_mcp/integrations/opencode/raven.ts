// The plugin of raven for opencode: tells an idle session that mail waits. `raven install opencode` wrote it.
//
// `raven mcp` keeps a flag file while mail waits that the session has not heard of. If the flag is there and a session
// is idle, the plugin asks `raven hook` for the notice, and hands it to the session as a prompt. The notice has numbers
// and addresses only: the session reads the messages with the tool `inbox`.
import { execFile } from "node:child_process"
import { existsSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"

const RAVEN = ["raven"]
const FLAG = join(homedir(), ".raven", "flags", `${process.pid}`)
const LOOK_MS = 250
const LONGEST_PAUSE_MS = 30_000
const LIMIT_MS = 5_000

function askForNotice(session: string, folder: string): Promise<string> {
  const [program, ...options] = RAVEN
  const words = ["hook", "stop", "--host", "opencode", ...options]
  return new Promise((resolve) => {
    const child = execFile(program, words, { timeout: LIMIT_MS }, (error, stdout) => {
      try {
        resolve(error ? "" : (JSON.parse(stdout).notice ?? ""))
      } catch {
        resolve("")
      }
    })
    child.stdin?.on("error", () => {})
    child.stdin?.end(JSON.stringify({ hook_event_name: "stop", session_id: session, cwd: folder }))
  })
}

export const Raven = async ({ client, directory }: any) => {
  let idle: string | undefined // the session that ended its turn last, and has begun no other
  let pause = LOOK_MS
  let next = 0
  let isAsking = false

  async function look() {
    if (!idle || isAsking || Date.now() < next || !existsSync(FLAG)) return
    isAsking = true
    const id = idle
    const text = await askForNotice(id, directory)
    isAsking = false
    // Mail that does not wake a session leaves the flag where it is.
    pause = text ? LOOK_MS : Math.min(2 * pause, LONGEST_PAUSE_MS)
    next = Date.now() + pause
    if (text) await client.session.promptAsync({ path: { id }, body: { parts: [{ type: "text", text }] } })
  }

  setInterval(() => look().catch(() => {}), LOOK_MS).unref?.()
  return {
    event: async ({ event }: any) => {
      const id = event?.properties?.sessionID
      if (event?.type === "session.idle") {
        idle = id
        pause = LOOK_MS
        next = 0
      } else if (id === idle && event?.type === "session.status" && event.properties.status?.type !== "idle") {
        idle = undefined
      }
    },
  }
}
