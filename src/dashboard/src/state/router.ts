/** Which page the address names, and links that change it without a reload. */

import { Store, useStore } from "./store";

export type Route = { readonly page: "runs" } | { readonly page: "run"; readonly id: string };

export function parseRoute(path: string): Route {
  const id = /^\/runs\/([^/]+)\/?$/.exec(path)?.[1];
  return id === undefined ? { page: "runs" } : { page: "run", id: decode(id) };
}

export function pathOf(route: Route): string {
  return route.page === "runs" ? "/" : `/runs/${encodeURIComponent(route.id)}`;
}

const router = new Store<{ route: Route }>({ route: parseRoute(location.pathname) });
window.addEventListener("popstate", () => router.set({ route: parseRoute(location.pathname) }));

export function useRoute(): Route {
  return useStore(router, (state) => state.route);
}

export function go(route: Route, search = ""): void {
  history.pushState(null, "", pathOf(route) + search);
  router.set({ route });
  window.scrollTo(0, 0);
}

/** Follow a plain click inside the page; leave clicks that ask for a new tab to the browser. */
export function follow(event: MouseEvent, route: Route, search = ""): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
    return;
  event.preventDefault();
  go(route, search);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a stray percent sign
  }
}
