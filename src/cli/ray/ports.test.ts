// Ports that are taken are named, all of them, with what wants them and what chooses others.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { test } from 'node:test';
import { CommandError } from '../command-error.ts';
import { checkPorts } from './ports.ts';

test('a port in use at any address, or one that may not be used, is refused; a free one is free again afterwards', async (context) => {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const wanted = [
    { port, purpose: 'the first', changedBy: '--first' },
    { port, host: '127.0.0.1', purpose: 'the second' },
    { port: 0, purpose: 'the third' },
  ];
  await assert.rejects(checkPorts(wanted), (error) => {
    assert.ok(error instanceof CommandError);
    assert.match(error.message, new RegExp(`0\\.0\\.0\\.0:${port} is in use: the first needs it \\(--first chooses another\\)`));
    assert.match(error.message, new RegExp(`127\\.0\\.0\\.1:${port} is in use: the second needs it$`));
    assert.doesNotMatch(error.message, /third/);
    return true;
  });
  server.close();
  await once(server, 'close');
  await checkPorts(wanted);
  await checkPorts(wanted);
});
