/** While a run goes on, clocks, timers and random numbers of the outside world are out of bounds: they would not repeat. */

type Undo = () => void;

function replace(target: object, name: string, what: string): Undo {
  const before = Reflect.get(target, name) as unknown;
  Reflect.set(target, name, () => {
    throw new Error(`Cannot call ${what} in a simulation: it does not repeat`);
  });
  return () => void Reflect.set(target, name, before);
}

/** Makes them throw; answers how to undo it. */
export function forbidChance(): Undo {
  const undo = [
    replace(Date, 'now', 'Date.now'),
    replace(Math, 'random', 'Math.random'),
    replace(performance, 'now', 'performance.now'),
    replace(process, 'hrtime', 'process.hrtime'),
    replace(globalThis, 'setTimeout', 'setTimeout'),
    replace(globalThis, 'setInterval', 'setInterval'),
    replace(globalThis, 'setImmediate', 'setImmediate'),
    replace(globalThis, 'queueMicrotask', 'queueMicrotask'),
  ];
  return () => {
    for (const each of undo) each();
  };
}
