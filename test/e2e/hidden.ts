/** Processes in user namespaces of their own that see nothing of each other in /proc, as systemd's PrivateUsers and ProtectProc make. */
import { execa } from 'execa'

/** Each mount of /proc hides for itself since Linux 5.8, and nothing from group 0. */
const HIDE = 'mount -t proc -o hidepid=invisible proc /proc'
const EXECUTE = 'exec setpriv --regid 65534 --clear-groups -- unshare --user --map-current-user -- "$@"'
const launcher = (script: string) => ['unshare', '--mount', '--propagation', 'private', '--', 'sh', '-c', script, 'sh'] as const

/**
 * Executes the command that follows in its own place: as the same user, in another user namespace than anybody else, with a /proc
 * that shows only what it may trace. A signal from another such process reaches it.
 */
export const hiddenFromOthers = launcher(`${HIDE} && ${EXECUTE}`)

/** The same, and /proc/locks is empty, too. */
export const hiddenWithLocks = launcher(`${HIDE} && mount --bind /dev/null /proc/locks && ${EXECUTE}`)

/** Why that cannot be had here; undefined when it can. */
export async function whyNothingIsHidden(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'needs root, to mount /proc'
  const [program, ...args] = hiddenFromOthers
  const look = 'kill -0 "$1" && ! test -e "/proc/$1"'
  const { failed, stderr } = await execa(program, [...args, 'sh', '-c', look, 'sh', String(process.pid)], { reject: false })
  return failed ? `user namespaces hide nothing here, or are not permitted: ${stderr}` : undefined
}
