/** A value that components can watch. Changed only through `set`, always by a new object: old values stay what they were. */

import { useEffect, useReducer, useRef } from "preact/hooks";

export class Store<State extends object> {
  private readonly listeners = new Set<() => void>();

  constructor(private state: State) {}

  get(): State {
    return this.state;
  }

  set(change: Partial<State>): void {
    this.state = { ...this.state, ...change };
    for (const listener of [...this.listeners]) listener();
  }

  subscribe(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

type Same<Part> = (a: Part, b: Part) => boolean;

/** What `select` makes of the store's state; the component renders again only when that is no longer the same. */
export function useStore<State extends object, Part>(
  store: Store<State>,
  select: (state: State) => Part,
  same: Same<Part> = Object.is,
): Part {
  const [, render] = useReducer<number, void>((count) => count + 1, 0);
  const part = select(store.get());
  const latest = useRef({ part, select, same });
  latest.current = { part, select, same };
  useEffect(() => {
    const check = () => {
      const { part, select, same } = latest.current;
      if (!same(part, select(store.get()))) render();
    };
    check(); // the state may have moved between the render and this effect
    return store.subscribe(check);
  }, [store]);
  return part;
}

/** Equal when element by element the same; for selectors that build a list. */
export function sameItems<Item>(a: readonly Item[], b: readonly Item[]): boolean {
  return a.length === b.length && a.every((item, index) => Object.is(item, b[index]));
}
