import { createStream } from 'rotating-file-stream'

/**
 * The supervisor's log file in `directory`: at most four parts of 10 MB, the older ones named supervisor-<time>.log as the
 * workers name theirs. rotating-file-stream does the turning over: Node has nothing for it.
 */
export function openLogFile(directory: string): NodeJS.WritableStream {
  return createStream((time) => (time ? `supervisor-${stamp(new Date(time))}.log` : 'supervisor.log'), {
    path: directory,
    size: '10M',
    maxFiles: 3,
    mode: 0o600,
  })
}

/** UTC, without the colons that some file systems refuse. */
const stamp = (time: Date) => time.toISOString().replaceAll(':', '-').replace('Z', '')
