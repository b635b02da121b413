from __future__ import annotations

import json

import pytest

from hakuriver.model.errors import BadRequest, MethodNotAllowed, NotFound, Unauthorized
from hakuriver.system.router import Request, Response, Route, Router, decode_query


def request(body: bytes = b"", **query: str) -> Request:
    return Request("POST", "/", {}, query, {}, body, "127.0.0.1")


def answer(_request: Request, _context: None) -> Response:
    return Response.json({})


ROUTER: Router[None] = Router(
    [
        Route("GET", "/", answer),
        Route("GET", "/task/<id>/stdout", answer),
        Route("GET", "/nodes/all", answer),
        Route("GET", "/nodes/<name>", answer),
        Route("POST", "/nodes/<name>", answer),
        Route[None]("POST", "/command/<id>/<verb>", answer),
    ]
)


class TestMatching:
    def test_parameters_are_the_segments_of_the_path(self) -> None:
        route, params = ROUTER.match("POST", "/command/12/pause")
        assert route.pattern == "/command/<id>/<verb>"
        assert params == {"id": "12", "verb": "pause"}

    def test_segments_are_decoded_after_the_path_is_split(self) -> None:
        assert ROUTER.match("GET", "/nodes/a%2Fb%20%C3%A9+")[1] == {"name": "a/b é+"}

    def test_the_first_route_that_fits_is_taken(self) -> None:
        assert ROUTER.match("GET", "/nodes/all")[0].pattern == "/nodes/all"

    @pytest.mark.parametrize("path", ["", "/task", "/task//stdout", "/task/1/stdout/", "//", "x"])
    def test_what_is_not_in_the_table_is_not_found(self, path: str) -> None:
        with pytest.raises(NotFound):
            ROUTER.match("GET", path)

    def test_another_method_is_not_allowed_and_the_possible_ones_of_all_routes_are_listed(
        self,
    ) -> None:
        with pytest.raises(MethodNotAllowed) as caught:
            ROUTER.match("PUT", "/nodes/all")
        assert caught.value.allow == ("GET", "HEAD", "POST")

    def test_head_is_answered_where_get_is(self) -> None:
        assert ROUTER.match("HEAD", "/")[0].method == "GET"
        with pytest.raises(MethodNotAllowed):
            ROUTER.match("HEAD", "/command/1/pause")

    @pytest.mark.parametrize("path", ["/nodes/%ff", "/nodes/%00", "/nodes/a%0d%0ab", "/nodes/%7f"])
    def test_paths_with_control_characters_or_broken_utf8_are_refused(self, path: str) -> None:
        with pytest.raises(BadRequest):
            ROUTER.match("GET", path)

    def test_two_routes_for_one_thing_are_a_mistake(self) -> None:
        with pytest.raises(ValueError, match="two routes"):
            Router([Route("GET", "/a/<b>", answer), Route("GET", "/a/<c>", answer)])

    def test_errors_repeat_no_control_characters(self) -> None:
        with pytest.raises(NotFound) as caught:
            ROUTER.match("GET", "/none/%41\u202e")
        assert caught.value.detail.isprintable()


class TestBodies:
    def test_an_empty_body_is_an_empty_object(self) -> None:
        assert request(b"").json() == {}

    def test_objects_keep_what_was_sent(self) -> None:
        sent = {"a": [1, 1.5, None, True], "b": {"é": "\udc80"}}
        assert request(json.dumps(sent).encode()).json() == sent

    @pytest.mark.parametrize(
        "body",
        [
            b"[]",
            b"1",
            b"null",
            b"{",
            b" ",
            b'{"a":1}x',
            b'{"a":1,"a":2}',
            b'{"x":{"a":1,"a":1}}',
            b'{"a":NaN}',
            b'{"a":-Infinity}',
            b'{"a":1e999}',
            b'{"a":"\xff"}',
            b"\xef\xbb\xbf{}",
            b'{"a":' + b"9" * 5000 + b"}",
            b'{"a":' + b"[" * 200_000,
            b'{"a":' * 200_000,
            '{"a\x1b[2J":1'.encode("utf-16"),
        ],
        ids=lambda body: repr(body[:20]),
    )
    def test_anything_but_one_plain_object_is_refused_in_plain_words(self, body: bytes) -> None:
        with pytest.raises(BadRequest) as caught:
            request(body).json()
        assert caught.value.detail.startswith("the body is")
        assert caught.value.detail.isprintable()
        assert len(caught.value.detail) < 300


class TestQueryNumbers:
    @pytest.mark.parametrize("text", ["0", "1.5", "+2", ".5", "3.", "1e1", "60"])
    def test_numbers_in_range_are_taken(self, text: str) -> None:
        assert request(wait=text).number("wait", 7, 0, 60) == float(text)

    @pytest.mark.parametrize(
        "text", ["", " 1", "nan", "inf", "1e999", "-1", "60.1", "0x1", "1_0", "１", "a\x1b"]
    )
    def test_any_other_number_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(BadRequest, match=r"^wait has to be a number from 0 to 60") as caught:
            request(wait=text).number("wait", 7, 0, 60)
        assert caught.value.detail.isprintable()

    @pytest.mark.parametrize("text", ["0", "007", "1000"])
    def test_whole_numbers_in_range_are_taken(self, text: str) -> None:
        assert request(limit=text).whole("limit", 7, 0, 1000) == int(text)

    @pytest.mark.parametrize("text", ["", "+1", "-1", "1.0", "1001", "٣", "²", "9" * 6000, "1\n"])
    def test_any_other_whole_number_is_refused_by_name(self, text: str) -> None:
        with pytest.raises(BadRequest, match=r"^limit has to be a whole number from 0 to 1000"):
            request(limit=text).whole("limit", 7, 0, 1000)

    def test_what_is_absent_is_the_default(self) -> None:
        assert request().number("wait", 7.5, 0, 1) == 7.5
        assert request().whole("limit", -1, 0, 1) == -1

    def test_of_two_values_the_last_counts_and_blank_ones_are_kept(self) -> None:
        assert decode_query("a=1&b=&a=2&c=%20+x") == {"a": "2", "b": "", "c": "  x"}
        with pytest.raises(BadRequest):
            decode_query("a=%ff")


class TestResponses:
    def test_json_is_ascii_whatever_the_text_is(self) -> None:
        body = Response.json({"text": "é\udc80"}).body
        assert body == rb'{"text":"\u00e9\udc80"}'

    def test_errors_carry_the_headers_that_http_asks_for(self) -> None:
        assert Response.error(Unauthorized("x")).headers == (("WWW-Authenticate", "Bearer"),)
        refusal = Response.error(MethodNotAllowed("x", ("GET", "HEAD")))
        assert (refusal.status, refusal.headers) == (405, (("Allow", "GET, HEAD"),))

    def test_a_body_in_pieces_needs_its_length(self) -> None:
        with pytest.raises(ValueError, match="length"):
            Response(200, iter([b"x"]))
        assert Response(200, iter([b"x"]), length=1).length == 1
