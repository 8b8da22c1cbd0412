/** Errors of the operating system in words: "the disk is full (ENOSPC)". */

const WORDS: Readonly<Partial<Record<string, string>>> = {
  E2BIG: 'there are too many arguments',
  EACCES: 'no permission',
  EADDRINUSE: 'the address is in use by another program',
  EADDRNOTAVAIL: 'this host does not have that address',
  EAGAIN: 'it is busy; try again',
  EAI_AGAIN: 'the name server did not answer',
  EBADF: 'it is closed',
  EBUSY: 'it is in use',
  ECONNABORTED: 'the connection was cut',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the other side cut the connection',
  EDQUOT: 'the disk quota is used up',
  EEXIST: 'there is a file of that name already',
  EFBIG: 'the file is too big',
  EHOSTUNREACH: 'the host cannot be reached',
  EIO: 'the device reports an error',
  EISDIR: 'it is a directory',
  ELOOP: 'its symbolic links go round in a circle',
  EMFILE: 'this process has too many open files',
  EMLINK: 'it has too many links',
  ENAMETOOLONG: 'the name is too long',
  ENETUNREACH: 'there is no route to that network',
  ENFILE: 'this host has too many open files',
  ENODEV: 'there is no such device',
  ENOENT: 'it does not exist',
  ENOEXEC: 'it is no program for this machine',
  ENOMEM: 'there is not enough memory',
  ENOSPC: 'the disk is full',
  ENOTCONN: 'it is not connected',
  ENOTDIR: 'a part of the path is no directory',
  ENOTEMPTY: 'the directory is not empty',
  ENOTFOUND: 'the host name cannot be resolved',
  ENOTSUP: 'the file system does not support it',
  EPERM: 'it is not permitted',
  EPIPE: 'nobody reads any more',
  EPROTO: 'the other side speaks another protocol',
  EROFS: 'the file system is read-only',
  ESRCH: 'there is no such process',
  ETIMEDOUT: 'there was no answer in time',
  ETXTBSY: 'the program is being written',
  EXDEV: 'it is on another file system',
}

/** What an error says. One of the operating system is put into words, with its code for those who search for it. */
export function inWords(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const code = 'code' in error && typeof error.code === 'string' ? error.code : ''
  const words = WORDS[code]
  return words === undefined ? error.message : `${words} (${code})`
}
