/**
 * Why a directory is no safe place for keys and sockets, with the remedy; empty when it is safe. A user who owns it, or can write to
 * it, can replace what is in it. `flag`: the option that chooses another directory; `user`: the effective uid of this process.
 */
export function unsafeDirectory(
  path: string,
  { mode, uid }: { readonly mode: number; readonly uid: number },
  { flag, user }: { readonly flag: string; readonly user: number | undefined },
): string {
  if (user !== undefined && uid !== user && uid !== 0) {
    return (
      `${path} belongs to another user (uid ${String(uid)}), who could replace what is in it; make it that of uid ${String(user)}: ` +
      `chown -R ${String(user)} ${path}, or choose another ${flag}`
    )
  }
  if ((mode & 0o022) === 0) return ''
  return `${path} is writable by other users, who could replace what is in it; make it private: chmod go-w ${path}, or choose another ${flag}`
}
