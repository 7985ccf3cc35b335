// Ports that Ray and Serve insist on, asked for before they start: on a clash Ray says little, and HAProxy nothing at all.

import { createServer } from 'node:net';
import { CommandError } from '../command-error.ts';

export interface WantedPort {
  readonly port: number;
  /** Where it will be listened on. @default '0.0.0.0' */
  readonly host?: string;
  /** Whose it is, for the message. */
  readonly purpose: string;
  /** What chooses another one. @default nothing does */
  readonly changedBy?: string;
}

/** Throws a CommandError that names every port that cannot be had. */
export async function checkPorts(wanted: readonly WantedPort[]): Promise<void> {
  const taken: string[] = [];
  for (const { changedBy, host = '0.0.0.0', port, purpose } of wanted) {
    const code = await tryListen(port, host);
    if (code === null) continue;
    const reason = code === 'EADDRINUSE' ? 'in use' : code;
    taken.push(`${host}:${port} is ${reason}: ${purpose} needs it${changedBy === undefined ? '' : ` (${changedBy} chooses another)`}`);
  }
  if (taken.length > 0) throw new CommandError(`Ray cannot start.\n${taken.join('\n')}`);
}

/** Null where the port can be had, otherwise the system's code. */
function tryListen(port: number, host: string): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(null)));
  });
}
