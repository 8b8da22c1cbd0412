/** Notices that a file has changed, however that was done. */
import { type Stats, unwatchFile, watchFile as pollFile } from 'node:fs'

/** How often is looked: one stat, 0.2 ms of CPU. */
const INTERVAL_MS = 1000
/** How long a change must have been the last one: longer than the interval, so that a file is not read half written. */
const QUIET_MS = 1500

/**
 * Calls back each time after `path` has changed and come to rest; returns how to stop. It looks at the file, by its path, and
 * does not wait for the kernel's news of it: those are about one directory entry, and what changes may be any link on the way
 * (Kubernetes swaps a link to a directory, NixOS one above that), or a mount. A file that is gone has changed, too.
 */
export function watchFile(path: string, onChange: () => void, { intervalMs = INTERVAL_MS, quietMs = QUIET_MS } = {}): () => void {
  let timer: NodeJS.Timeout | undefined
  const restart = (now: Stats, before: Stats) => {
    // Told at the first look as well when there is no file.
    if (now.ino === 0 && before.ino === 0) return
    clearTimeout(timer)
    timer = setTimeout(onChange, quietMs).unref()
  }
  pollFile(path, { interval: intervalMs, persistent: false }, restart)
  return () => {
    clearTimeout(timer)
    unwatchFile(path, restart)
  }
}
