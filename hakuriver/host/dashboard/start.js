// Loaded before everything else: if a part of the page could not be fetched, says so and tries again.
"use strict";
addEventListener(
  "error",
  (event) => {
    if (!(event.target instanceof HTMLScriptElement || event.target instanceof HTMLLinkElement)) return;
    const place = document.querySelector(".starting");
    if (place) place.textContent = "The host did not send the whole page. Trying again …";
    setTimeout(() => location.reload(), 1500);
  },
  true,
);
