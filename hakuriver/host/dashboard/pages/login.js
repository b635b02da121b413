// The token, once; a cookie stands for it from then on.
import { onMounted, ref } from "../vendor/vue.js";
import { lookAtSession, post, rememberUser, session } from "../api.js";
import { button, code, details, div, form, h1, input, label, main, p, small, span, summary } from "../dom.js";

export const Login = {
  setup() {
    const token = ref("");
    const name = ref(session.user);
    const problem = ref("");
    const busy = ref(false);
    const field = ref(null);
    onMounted(() => field.value.focus());
    const enter = async (event) => {
      event.preventDefault();
      if (busy.value) return;
      busy.value = true;
      problem.value = "";
      try {
        rememberUser(name.value);
        await post("/login", { token: token.value });
        await lookAtSession();
      } catch (error) {
        problem.value = error.status === 401 ? "That is not the token of this host." : error.message;
        field.value?.select();
      } finally {
        busy.value = false;
      }
    };
    return () =>
      main(
        { class: "login" },
        form(
          { class: "card", onSubmit: enter },
          div({ class: "brand" }, span({ class: "brand-mark", "aria-hidden": "true" }), h1("HakuRiver")),
          p("This cluster asks for its token."),
          label(
            span("Token"),
            input({
              ref: field,
              type: "password",
              required: true,
              autocomplete: "current-password",
              value: token.value,
              "aria-invalid": problem.value ? true : undefined,
              "aria-describedby": problem.value ? "problem" : undefined,
              onInput: (event) => {
                token.value = event.target.value;
              },
            }),
          ),
          problem.value ? p({ id: "problem", class: "field-problem", role: "alert" }, problem.value) : null,
          label(
            span("Your name"),
            input({
              value: name.value,
              autocomplete: "username",
              maxlength: 60,
              placeholder: "optional",
              onInput: (event) => {
                name.value = event.target.value;
              },
            }),
            small("Shown with the tasks that you submit."),
          ),
          button({ type: "submit", class: "main", disabled: busy.value }, "Log in"),
          details(
            summary("Where do I find the token?"),
            p(
              "In the configuration file on the host, usually ",
              code("~/.hakuriver/config.toml"),
              ", behind ",
              code("token ="),
              ". Ask whoever set up the cluster.",
            ),
          ),
        ),
      );
  },
};
