/** What this process was started with, for reading a configuration. */
import { homedir } from 'node:os'

interface Ambient {
  readonly env: NodeJS.ProcessEnv
  readonly cwd: string
  /** Undefined when the user has none. */
  readonly home: string | undefined
  readonly isRoot: boolean
}

/** Environment, directories and user of this process. */
export function ambient(): Ambient {
  return { env: process.env, cwd: process.cwd(), home: homeDirectory(), isRoot: process.geteuid?.() === 0 }
}

/** A user that systemd has made up (DynamicUser=) is in no list of users where libnss-systemd is missing; Node throws for one. */
function homeDirectory(): string | undefined {
  try {
    return homedir()
  } catch {
    return undefined
  }
}
