// What the user of the command line has to see to: its message says all, so no stack trace is shown with it.

export class CommandError extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.name = 'CommandError';
  }
}
